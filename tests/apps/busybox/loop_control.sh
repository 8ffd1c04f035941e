for i in 1 2 3 4 5; do
  [ $i = 2 ] && continue
  [ $i = 4 ] && break
  for j in a b; do [ $j = b ] && continue 2; echo $i$j; done
done
until [ "$i" = 0 ]; do i=$((i - 1)); done; echo $i
