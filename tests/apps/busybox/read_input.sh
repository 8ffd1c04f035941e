printf 'one two three\nfour\\five six\nlast' > f
while read a b; do echo "[$a][$b]"; done < f
{ read -r x; read -r y; echo "$y"; } < f
printf 'a:b:c' | { IFS=: read p q r; echo "$? $p $q $r"; }
read -t 0.1 z < /dev/null; echo $?
