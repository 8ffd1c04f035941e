trap 'echo caught' TERM
(sleep 0.05; kill -TERM $$) &
sleep 5 &
slow=$!
wait $slow; echo "wait $?"
kill $slow
wait $slow; echo "slow $?"
