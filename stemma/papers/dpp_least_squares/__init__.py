"""Weighted least squares with determinantal point processes (Nouy and Michel, arXiv 2312.14057).

A function is approximated in an m-dimensional space V_m from its values at n random points. The
measure mu is always discrete here (Gauss quadrature, or the rows of a table), so that densities,
projections and L2 errors are exact to rounding. Modules, in reading order: ``spaces`` (mu and an
orthonormal basis), ``functions`` (what is approximated, and its best errors), ``sampling`` (the
point processes), ``least_squares`` (the fits), ``selection`` (boosting and greedy removal),
``inference`` (tests and bounds), ``study`` (the Monte-Carlo experiment), ``plots``.
"""
