---- MODULE MCCursorGap ----
EXTENDS CursorGap, TLC
CONSTANTS t1, t2, t3
Two == {t1, t3}
Three == {t1, t2, t3}
\* t1 and t2 share a key
TwoKeys == (t1 :> "k1") @@ (t2 :> "k1") @@ (t3 :> "k2")
====
