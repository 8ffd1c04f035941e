ps -o pid,comm > f; head -1 f
ps -o pid | grep -q "^ *$$ *\$" && echo "seen myself"
sleep 10 & pid=$!
while ! ps -o pid,comm | grep -q "^ *$pid *sleep"; do sleep 0.01; done
echo "seen the job"; kill $pid
[ "$(ps -o ppid,comm | awk -v p=$$ '$1 == p' | wc -l)" -ge 1 ] && echo "children have a parent"
