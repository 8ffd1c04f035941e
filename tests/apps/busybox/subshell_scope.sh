x=1; (x=2; cd /; echo "in $x $PWD"); echo "out $x"
{ x=3; }; echo $x
x=4 sh -c 'echo "env $x"'; echo $x
export y=5; sh -c 'echo "exported $y"'; unset y; sh -c 'echo "gone ${y-yes}"'
env -i A=1 "$BB" env
