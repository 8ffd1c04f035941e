printf 'one\ntwo\n' > f
printf 'x\n' | ed -s f 2>/dev/null | cat; printf '1s/one/ONE/\nw\nq\n' | ed f; cat f
