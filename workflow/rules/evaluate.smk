# Per-image results of every method; untrained methods are evaluated once, with seed 1.


rule evaluate:
    input:
        images=RUN.pattern("images"),
        noise=RUN.pattern("noise"),
        baselines=baselines_of_evaluation,
        models=models_of_evaluation,
    output:
        rows=RUN.pattern("evaluation"),
        arrays=RUN.pattern("arrays"),
    log:
        f"{ROOT}/logs/evaluate/{{part}}/sigma{{sigma}}{{seed}}.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/{{part}}-sigma{{sigma}}{{seed}}.tsv"
    retries: RETRIES
    conda:
        "../../environment.yml"
    threads: CONFIG.threads
    resources:
        last_try=last_try,
        gpu=ON_GPU,
    params:
        config=configfile,
        seed=seed_of,
        settings=lambda w: settings_digest(
            CONFIG.evaluation.protocol,
            CONFIG.parts[w.part].methods,
            CONFIG.sensitivity,
        ),
        code=code_digest("dhl.evaluation.evaluate"),
    shell:
        "dhl evaluate --part {wildcards.part} --sigma {wildcards.sigma} --seed {params.seed}"
        " --configfile {params.config} > {log} 2>&1"
        " || dhl record-failure --status $? --last {resources.last_try} --log {log} {output}"
