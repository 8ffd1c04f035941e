printf 'a:b:c\nd:e:f\n' > f
cut -d: -f2 f; cut -c1,3 f; cut -d: -f1,3 f
seq 1 4 > x; seq 5 8 > y; paste x y; paste -s -d, x
rev f; tac x; nl f; fold -w 2 f; expand f; tr -d : < f; tr -s a-z < f; tr -c a-z . < f; echo
