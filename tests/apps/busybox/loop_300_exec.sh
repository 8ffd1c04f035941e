i=0
while [ $i -lt 300 ]; do
  "$BB" true || exit 1
  i=$((i + 1))
done
echo done $i
