for s in TERM INT KILL QUIT ABRT ALRM PIPE; do
  sh -c "kill -$s \$\$; echo survived" 2>/dev/null
  echo "$s $?"
done
