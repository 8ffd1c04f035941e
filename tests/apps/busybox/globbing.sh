touch a1 a2 b1 .hidden 'sp ace'; mkdir d; touch d/x d/y
echo *; echo a?; echo [!a]*; echo d/*; echo .h*; echo none*; echo */
set -f; echo *; set +f
for f in *; do printf '<%s>' "$f"; done; echo
