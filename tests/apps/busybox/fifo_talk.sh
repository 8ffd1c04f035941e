mkfifo p
(echo through the pipe; seq 1 3) > p &
cat p; wait
for i in 1 2 3; do echo $i > p & cat p; wait $!; done
