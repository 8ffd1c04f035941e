mkfifo in out
(while read n; do echo $((n * n)); done) < in > out &
exec 3> in 4< out
for i in 2 3 4; do echo $i >&3; read r <&4; echo "$i squared $r"; done
exec 3>&- 4<&-
wait
