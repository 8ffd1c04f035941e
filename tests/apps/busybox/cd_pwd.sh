mkdir -p a/b; ln -s a/b l
base=$PWD
cd l; echo ${PWD#$base}; pwd -P | sed "s,.*/a,/a,"; cd ..; echo ${PWD#$base}
cd a; cd b; cd - > /dev/null; echo ${PWD#$base}; cd none; echo $?; cd; echo $?
