---- MODULE MCPipeline ----
EXTENDS Pipeline, TLC
CONSTANTS t1, t2, t3
Two == {t1, t2}
Three == {t1, t2, t3}
\* t1 and t3 share a key
TwoKeys == (t1 :> "k1") @@ (t2 :> "k2") @@ (t3 :> "k1")
OwnKeys == (t1 :> "k1") @@ (t2 :> "k2") @@ (t3 :> "k3")
\* seqs of each transaction at most
P111 == (t1 :> 1) @@ (t2 :> 1) @@ (t3 :> 1)
P211 == (t1 :> 2) @@ (t2 :> 1) @@ (t3 :> 1)
P221 == (t1 :> 2) @@ (t2 :> 2) @@ (t3 :> 1)
P311 == (t1 :> 3) @@ (t2 :> 1) @@ (t3 :> 1)
\* who draws in which order, where a counter-example needs many seqs
Prefix(o) == Len(owner) <= Len(o) /\ \A i \in 1..Len(owner) : owner[i] = o[i]
AnyOrder == TRUE
Order11213 == Prefix(<<t1, t1, t2, t1, t3>>)
Order1213 == Prefix(<<t1, t2, t1, t3>>) \/ Prefix(<<t1, t2, t3, t1>>)
\* transactions that the filter excludes
NoFilter == {}
FilterT2 == {t2}
====
