printf 'one\ntwo\nthree\nfour\n' > f
sed -n 2,3p f; sed '/t/d' f; sed 's/o/0/g;s/\(t\)\(w\)/\2\1/' f
sed -i '1i\
top' f; cat f
sed -e '$!N;P;D' f | tail -1
sed = f | sed 'N;s/\n/\t/'
sed -n '/two/,/four/{s/^/> /;p}' f
