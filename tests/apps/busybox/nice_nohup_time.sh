nice -n 5 sh -c 'nice'; nice
nohup echo not hung up 2>/dev/null
(time true) 2>&1 | grep -c real
usleep 1000; echo $?
setsid echo own session; start=$(date +%s); sleep 1; [ $(($(date +%s) - start)) -ge 1 ] && echo slept
