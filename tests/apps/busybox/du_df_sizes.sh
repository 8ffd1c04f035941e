dd if=/dev/zero of=big bs=1k count=40 2>/dev/null; mkdir d; cp big d
ls -s big | awk '{ print ($1 >= 40) }'; stat -c '%s %h' big; wc -c big d/big
df . | awk 'NR == 1 { print NF }'; truncate -s 100 big; stat -c %s big
