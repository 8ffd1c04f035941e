printf 'a 3\nb 5\na 4\n' | awk '{ s[$1] += $2 } END { for (k in s) print k, s[k] }' | sort
awk 'BEGIN { for (i = 0; i < 5; i++) printf "%d %.3f %s\n", i * i, i / 7, substr("abcdef", i + 1, 2) }'
echo 'x=1;y=2' | awk -F'[=;]' '{ print $2 + $4, NF, length($0) }'
awk 'BEGIN { while (("echo a; echo b" | getline l) > 0) print "got", l; system("exit 3"); exit 4 }'; echo $?
awk 'function f(n) { return n < 2 ? n : f(n - 1) + f(n - 2) } BEGIN { print f(15) }'
