seq 1 100 > f
head -n 2 f; head -c 5 f; tail -n 2 f; tail -c 4 f; tail -n +99 f; wc f; wc -l -w -c < f
head -n -97 f; cat -n f | head -2; cat -A f | head -1; od -c f | head -2; hexdump -C f | head -2; xxd f | head -1
