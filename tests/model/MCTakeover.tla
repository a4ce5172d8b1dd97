---- MODULE MCTakeover ----
EXTENDS Takeover, TLC
CONSTANTS t1, t2, t3, r1, r2
Two == {t1, t2}
Three == {t1, t2, t3}
Relays == {r1, r2}
One == {r1}
\* t1 and t2 share a key
TwoKeys == (t1 :> "k1") @@ (t2 :> "k1") @@ (t3 :> "k2")
\* every transaction has a key of its own: gaps
OwnKeys == (t1 :> "k1") @@ (t2 :> "k2") @@ (t3 :> "k3")
Swap == Permutations({r1, r2})
====
