test -e /proc/self/exe && echo exe
test -L /proc/self/cwd && echo cwd
[ "$(readlink /proc/self/cwd)" = "$PWD" ] && echo here
[ -d /proc/$$ ] && echo me
[ -r /proc/self/maps ] && echo maps
tr '\0' ' ' < /proc/self/cmdline; echo
grep -c . /proc/self/status > /dev/null && echo status
ls /proc/self/fd | head -3
read up idle < /proc/uptime; [ -n "$idle" ] && echo uptime
cat /proc/self/comm; head -c 14 /proc/version; echo
[ -e /proc/nothing ]; echo $?
