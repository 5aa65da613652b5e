"""Workspaces in the form that pyhf reads, and what its own root finder says of them."""

# pyhf's documentation, uncorrelated_background: signal [12, 11], background [50, 52] with errors [3, 7]
TWO_BINS = {
    "channels": [
        {
            "name": "only",
            "samples": [
                {
                    "name": "signal",
                    "data": [12.0, 11.0],
                    "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                },
                {
                    "name": "background",
                    "data": [50.0, 52.0],
                    "modifiers": [{"name": "uncorrelated", "type": "shapesys", "data": [3.0, 7.0]}],
                },
            ],
        }
    ],
    "measurements": [{"name": "limit", "config": {"poi": "mu", "parameters": []}}],
    "observations": [{"name": "only", "data": [51, 48]}],
    "version": "1.0.0",
}


def _factor(name, low, high):
    return {"name": name, "type": "normsys", "data": {"lo": low, "hi": high}}


_LUMI = {"name": "lumi", "type": "lumi", "data": None}
_MU = {"name": "mu", "type": "normfactor", "data": None}

# a bump over a falling and an uncertain background: 10 bins, 15 nuisance parameters
BUMP = {
    "channels": [
        {
            "name": "mass",
            "samples": [
                {
                    "name": "signal",
                    "data": [0.5, 1, 2, 4, 6, 6, 4, 2, 1, 0.5],
                    "modifiers": [_MU, _LUMI, _factor("efficiency", 0.93, 1.08)],
                },
                {
                    "name": "falling",
                    "data": [40, 36, 32, 29, 26, 23, 21, 19, 17, 15],
                    "modifiers": [
                        _LUMI,
                        {
                            "name": "slope",
                            "type": "histosys",
                            "data": {
                                "hi_data": [36, 33.5, 31, 28.7, 26.2, 23.8, 22.2, 20.4, 18.5, 16.8],
                                "lo_data": [44, 38.5, 33, 29.3, 25.8, 22.2, 19.8, 17.6, 15.5, 13.2],
                            },
                        },
                        _factor("rate", 0.9, 1.1),
                    ],
                },
                {
                    "name": "simulated",
                    "data": [2, 3, 4, 5, 6, 6, 5, 4, 3, 2],
                    "modifiers": [
                        _factor("other_rate", 0.75, 1.3),
                        {
                            "name": "simulation",
                            "type": "shapesys",
                            "data": [0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 0.8, 0.7, 0.6, 0.5],
                        },
                    ],
                },
            ],
        }
    ],
    "measurements": [
        {
            "name": "limit",
            "config": {
                "poi": "mu",
                "parameters": [
                    {"name": "lumi", "auxdata": [1.0], "bounds": [[0.5, 1.5]], "inits": [1.0], "sigmas": [0.025]}
                ],
            },
        }
    ],
    "observations": [{"name": "mass", "data": [41, 40, 35, 33, 36, 33, 24, 25, 17, 16]}],
    "version": "1.0.0",
}

# a signal and a control region that share a free rate: 8 + 4 bins, 15 nuisance parameters
CONTROL = {
    "channels": [
        {
            "name": "signal_region",
            "samples": [
                {"name": "signal", "data": [1, 2, 3, 4, 5, 3, 2, 1], "modifiers": [_MU, _factor("scale", 0.95, 1.06)]},
                {
                    "name": "top",
                    "data": [9, 8, 7, 6, 5, 4, 3, 2],
                    "modifiers": [
                        {"name": "top_rate", "type": "normfactor", "data": None},
                        _factor("scale", 1.04, 0.97),
                        {"name": "statistics", "type": "staterror", "data": [0.9, 0.8, 0.8, 0.7, 0.6, 0.6, 0.5, 0.4]},
                    ],
                },
                {
                    "name": "diboson",
                    "data": [3, 3, 2, 2, 2, 1, 1, 1],
                    "modifiers": [
                        _factor("diboson_rate", 0.8, 1.25),
                        {"name": "statistics", "type": "staterror", "data": [0.4, 0.4, 0.3, 0.3, 0.3, 0.2, 0.2, 0.2]},
                    ],
                },
            ],
        },
        {
            "name": "control_region",
            "samples": [
                {
                    "name": "top",
                    "data": [80, 70, 50, 30],
                    "modifiers": [
                        {"name": "top_rate", "type": "normfactor", "data": None},
                        {
                            "name": "tilt",
                            "type": "histosys",
                            "data": {"hi_data": [84, 71, 49, 28], "lo_data": [77, 69, 51, 32.5]},
                        },
                        {"name": "closure", "type": "shapesys", "data": [4, 4, 3, 2]},
                    ],
                },
                {"name": "diboson", "data": [5, 4, 3, 2], "modifiers": [_factor("diboson_rate", 0.8, 1.25)]},
            ],
        },
    ],
    "measurements": [{"name": "limit", "config": {"poi": "mu", "parameters": []}}],
    "observations": [
        {"name": "signal_region", "data": [14, 12, 10, 9, 9, 5, 5, 2]},
        {"name": "control_region", "data": [90, 79, 57, 31]},
    ],
    "version": "1.0.0",
}
