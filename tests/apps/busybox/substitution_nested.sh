a=$(echo $(echo $(echo deep)))
b=`echo \`echo old\``
echo "$a $b $(printf 'trailing\n\n\n')."
echo "$(seq 1 3 | while read x; do echo "<$x>"; done)"
echo "status $(exit 5; echo no) $?"
x=$(exit 6); echo $?
