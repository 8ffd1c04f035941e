f() { local x=$1; x=$((x + 1)); echo "f $x"; return $x; }
x=1; f 4; echo "$? $x"
g() { [ $1 -eq 0 ] && return; printf '%s ' $1; g $(($1 - 1)); }
g 5; echo
h() { echo "$#:$*"; }; h "a b" c; h
(f() { echo shadow; }; f); f 0
