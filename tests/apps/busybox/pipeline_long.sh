seq 1 200 | grep 7 | sed 's/7/seven/' | tr a-z A-Z | cat | cat | cat | head -5 | tail -2
