sleep 100 &
pid=$!
kill -0 $pid && echo alive
kill -KILL $pid
wait $pid 2>/dev/null
echo "status $?"
kill -0 $pid 2>/dev/null || echo gone
kill -l 9
