sh -c '(sleep 0.1; echo orphan > f) &'
i=0; while [ ! -s f ] && [ $i -lt 100 ]; do sleep 0.02; i=$((i + 1)); done
cat f
