export FOO=bar
sh -c 'echo $FOO'; env | grep ^FOO; FOO=baz env | grep ^FOO; env -u FOO sh -c 'echo ${FOO-unset}'
(exec sh -c 'echo "execed $0"' name)
exec 5>&1; (exec >&5; echo via five)
nosuchcommand; echo $?; ./none; echo $?; touch notx; ./notx; echo $?; mkdir dir; ./dir; echo $?
