(for i in 1 2 3; do echo $i; sleep 0.02; done) | while read n; do echo "got $n"; done &
wait $!
echo "status $?"
