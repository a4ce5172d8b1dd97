---- MODULE MCRetention ----
EXTENDS Retention, TLC
CONSTANTS t1, t2, s1, s2
Two == {t1, t2}
Subs == {s1, s2}
P11 == (t1 :> 1) @@ (t2 :> 1)
P21 == (t1 :> 2) @@ (t2 :> 1)
\* the second one wants nothing of t2
None == (s1 :> {}) @@ (s2 :> {})
SecondNotT2 == (s1 :> {}) @@ (s2 :> {t2})
====
