i=0
while [ $i -lt 300 ]; do
  i=$((i + 1))
  case $i in *00) echo "at $i";; esac
done
echo $i
