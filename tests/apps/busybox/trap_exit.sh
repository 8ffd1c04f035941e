(trap 'echo leaving $?' EXIT; echo inside; exit 4)
echo "status $?"
trap 'echo bye' EXIT
echo end
exit 9
