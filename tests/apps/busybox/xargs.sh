seq 1 10 | xargs echo
seq 1 10 | xargs -n 3 echo
printf 'a b\0c d\0' | xargs -0 -n 1 echo
seq 1 3 | xargs -I{} echo "<{}>"
echo | xargs -r echo never
seq 1 3 | xargs -n 1 sh -c 'exit $0'; echo $?
