trap 'echo usr1' USR1
trap 'echo usr2' USR2
trap '' HUP
kill -USR1 $$
kill -HUP $$
kill -USR2 $$
trap
trap - USR1
sh -c 'kill -USR1 $$'; echo "child $?"
