[ -r /proc/mounts ] && echo readable
grep -q ' / ' /proc/mounts && echo root
awk '$2 == "/proc" { print $3 }' /proc/mounts | head -1
uname -s; uname -m | sed 's/i.86/x86/;s/x86_64/x86/'; [ -n "$(hostname)" ] && echo named
