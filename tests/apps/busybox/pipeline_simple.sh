printf '%s\n' pear apple fig apple | sort | uniq -c | sort -rn | sed 's/^ *//'
