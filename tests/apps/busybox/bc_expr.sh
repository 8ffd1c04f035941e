expr 6 \* 7; expr length hello; expr substr hello 2 3; expr hello : 'h\(.*\)o'; expr 5 \> 3; expr 1 - 1; echo $?
echo '2^64; scale=5; 22/7' | bc; echo '3 4 + p' | dc; factor 360; seq -s, 1 2 9; seq -w 8 11
