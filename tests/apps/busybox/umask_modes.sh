umask 077; touch f; mkdir d; ls -ld f d | cut -c1-10
umask 022; touch g; chmod u+x,g-r g; ls -l g | cut -c1-10; chmod 1777 d; ls -ld d | cut -c1-10
stat -c '%a %F' f g d; umask; chmod -R 700 d; stat -c %a d
