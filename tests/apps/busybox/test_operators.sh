touch f; mkdir d; chmod 000 f; echo x > g; ln -s f l; mkfifo p
for t in "-e f" "-f f" "-d d" "-s f" "-s g" "-L l" "-p p" "-x d" "-c /dev/null" "-t 0" "-z" "-n x"; do
  [ $t ] && echo "$t yes" || echo "$t no"
done
[ a = a -a b != c ] && echo and; [ 1 -lt 2 -o 2 -lt 1 ] && echo or; [ 10 -gt 9 ] && echo num
[ a \< b ] && echo less; [ x -eq 1 ]; echo $?
