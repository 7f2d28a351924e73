"""Distributional MIPLIB: families of integer programs and learned branching (Huang et al. 2024).

``milp`` holds one program, ``instances`` and ``families`` the domains' generators, ``solver`` SCIP
at the settings of the paper's code, ``rules`` the branching rules, ``state`` what a policy sees,
``policy`` the graph network, ``imitation`` its training on strong branching, ``study`` the arms.
"""
