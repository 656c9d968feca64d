# Per-image results of every method, for each training of its networks.


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
        f"{ROOT}/logs/evaluate/{{part}}/sigma{{sigma}}{{draw}}.log",
    benchmark:
        RUN.benchmark("evaluation")
    retries: RETRIES
    conda:
        "../../environment.yml"
    threads: CONFIG.threads
    resources:
        last_try=last_try,
        gpu=ON_GPU,
    params:
        config=configfile,
        task=lambda w: evaluation_of(w)[-1].task,
        seed=lambda w: evaluation_of(w)[-1].seed,
        settings=lambda w: settings_digest(
            CONFIG.evaluation.protocol,
            CONFIG.parts[w.part].methods,
            CONFIG.sensitivity,
        ),
        code=code_digest("dhl.evaluation.evaluate"),
    shell:
        "dhl evaluate --part {wildcards.part} --sigma {wildcards.sigma}"
        " --task-seed {params.task} --seed {params.seed}"
        " --configfile {params.config} > {log} 2>&1"
        " || dhl record-failure --status $? --last {resources.last_try} --log {log} {output}"
