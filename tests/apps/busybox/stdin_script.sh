echo 'echo "from stdin"; cat; exit 3
remaining input' | sh -s; echo $?
echo 'echo $1 $2' | sh -s a b; sh -c 'echo $0 $1' zero one
