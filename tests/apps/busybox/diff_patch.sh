seq 1 10 > a; sed 's/5/five/;8d' a > b
diff a b > p; echo $?; cat p
diff -u a b | tail -n +3
diff -u a b > u; patch a < u; cmp a b && echo patched; cmp a n 2>/dev/null; echo $?
