sh -c 'sleep 10 & p=$!; kill -STOP $p; kill -CONT $p; kill $p; wait $p; echo $?'
(sleep 0.1; echo late) & (echo early); wait
sh -c 'trap "kill 0" TERM; :'; echo $?
