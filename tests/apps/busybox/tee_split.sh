seq 1 5 | tee a b | wc -l; cat a b | sort -n | uniq -c | awk '{ print $1 $2 }' | tr '\n' ' '; echo
echo more | tee -a a > /dev/null; tail -1 a
seq 1 10 > n; split -l 4 n part; ls part*; cat part* | cmp - n && echo same
