sleep 0.05 & first=$!
(exit 3) & second=$!
wait $second; echo "second $?"
wait $first; echo "first $?"
wait; echo "all $?"
wait $first; echo "again $?"
