printf 'alpha\nBeta\ngamma 42\n\ndelta-7\n' > f
grep a f; grep -v a f; grep -i b f; grep -c a f; grep -n '^[a-z]*$' f; grep -o '[0-9]*' f
grep -E '(et|mm)a' f; grep -F - f; grep -q zzz f; echo $?; grep x none; echo $?; grep -l a f; grep -w 42 f; egrep -A1 al f
grep -r alpha . ; echo a.b | grep 'a\.b'
