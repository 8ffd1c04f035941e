echo out; echo err >&2
{ echo a; echo b >&2; } > f 2>&1; cat f
ls /none > g 2>&1; cat g
exec 3> h; echo three >&3; exec 3>&-; cat h
echo closed >&3; echo $?
exec 4< h; read x <&4; echo "got $x"; exec 4<&-
echo 1 > n; echo 2 >> n; cat < n; cat n - < h
: > n; wc -c < n
set -C; echo x > n; echo $?; echo y >| n; cat n
cat < none; echo $?
