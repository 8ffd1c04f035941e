printf '10 b\n9 a\n10 a\n1 c\n' > f
sort f; echo; sort -n f; echo; sort -k2,2 -k1,1nr f; echo; sort -u -k1,1n f; echo; sort -r f
seq 1 3000 | awk '{ print ($1 * 7919) % 3001 }' | sort -n | md5sum
