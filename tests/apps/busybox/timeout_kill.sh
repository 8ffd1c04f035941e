timeout 0.2 sleep 5; echo $?
timeout 5 sh -c 'exit 3'; echo $?
timeout -s KILL 0.2 sh -c 'trap "" TERM; while :; do :; done'; echo $?
