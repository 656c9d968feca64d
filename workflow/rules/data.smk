# Downloads, clean images, the record of their noise, and what untrained methods make of them.


# On the machine that Snakemake runs on: the nodes of a cluster often have no way out.
rule download:
    output:
        f"{ROOT}/downloads/{{set}}.json",
    log:
        f"{ROOT}/logs/downloads/{{set}}.log",
    localrule: True
    conda:
        "../../environment.yml"
    shell:
        dhl("data download {wildcards.set}")


rule data:
    input:
        downloads_of_part,
    output:
        images=f"{ROOT}/data/{{part}}.npz",
        sheet=f"{ROOT}/data/{{part}}.png",
        skipped=f"{ROOT}/data/{{part}}.skipped.csv",
    log:
        f"{ROOT}/logs/data/{{part}}.log",
    benchmark:
        f"{ROOT}/benchmarks/data/{{part}}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.threads
    resources:
        mem_mb=growing(3000),
        runtime=growing(240),
    params:
        settings=lambda w: settings_digest(
            CONFIG.base_seed, CONFIG.downloads.root, CONFIG.parts[w.part].data
        ),
        files=lambda w: files_digest(CONFIG, w.part),
        code=lambda w: code_digest("dhl.data.prepare", *CONFIG.parts[w.part].data.code),
    shell:
        dhl("data make --part {wildcards.part}")


rule noise:
    input:
        f"{ROOT}/data/{{part}}.npz",
    output:
        f"{ROOT}/noise/{{part}}/sigma{{sigma}}.csv",
    log:
        f"{ROOT}/logs/noise/{{part}}/sigma{{sigma}}.log",
    benchmark:
        f"{ROOT}/benchmarks/noise/{{part}}-sigma{{sigma}}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(240),
    params:
        settings=lambda w: settings_digest(
            CONFIG.base_seed, CONFIG.noise, CONFIG.parts[w.part].data.name
        ),
        code=code_digest("dhl.data.noise", *references(CONFIG.noise)),
    shell:
        dhl("noise --part {wildcards.part} --sigma {wildcards.sigma}")


rule baseline:
    input:
        images=f"{ROOT}/data/{{part}}.npz",
        noise=f"{ROOT}/noise/{{part}}/sigma{{sigma}}.csv",
    output:
        f"{ROOT}/baselines/{{part}}/{{method}}-sigma{{sigma}}/{{shard}}.npz",
    log:
        f"{ROOT}/logs/baseline/{{part}}/{{method}}-sigma{{sigma}}/{{shard}}.log",
    benchmark:
        f"{ROOT}/benchmarks/baseline/{{part}}-{{method}}-sigma{{sigma}}/{{shard}}.tsv"
    conda:
        "../../environment.yml"
    resources:
        last_try=LAST_TRY,
        mem_mb=growing(1000, per_thread=500),
        runtime=growing(240),
    params:
        code=code_of_baseline,
    shell:
        dhl_or_record_failure(
            "baseline --part {wildcards.part} --method {wildcards.method} --sigma {wildcards.sigma} --shard {wildcards.shard} --processes {threads}"
        )
