date -u -d @0; date -u -d @1000000000 '+%Y-%m-%d %H:%M:%S %j %a'; date -u -d '2024-02-29 12:00:00' +%s
touch -d '2001-02-03 04:05:06' f; date -u -r f '+%F %T'; stat -c %Y f
[ "$(date +%s)" -gt 1600000000 ] && echo now
