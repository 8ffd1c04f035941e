a='single $x'; b="double \"$a\" \\ \$x"
echo "$a" "$b" 'it'\''s' $'tab\there'
printf '%s|%5d|%-5s|%05.1f|%x|%c|%b\n' str 42 left 3.14159 255 char 'a\tb'
echo -e 'x\ty\\n'; echo -n no newline; echo
eval 'echo "evaluated $a"'
